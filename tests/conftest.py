"""What holds for all tests."""

import signal

# In a job that nohup or a shell's & started SIGINT is ignored, and so it would be by the programs
# that tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
