"""Many runs of one command line: their records, their folders, and how they are launched."""
