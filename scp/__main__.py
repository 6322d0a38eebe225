"""``python -m scp`` is ``zscp``."""

from scp.cli.main import main

if __name__ == "__main__":
    main()
