"""``python -m scp`` is ``zscp``."""

from scp.cli import main

if __name__ == "__main__":
    main()
