"""What holds for all tests."""

import signal

# A shell that starts them in the background ignores SIGINT, and processes of tests would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
