"""``python -m scp`` is ``zscp``."""

import signal

from scp.cli.main import main

if __name__ == "__main__":
    # A node blocks these, and its programs inherit that: it could ask none to end. Serve blocks them again.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
    main()
