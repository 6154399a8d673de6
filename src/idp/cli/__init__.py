"""The commands, one file per group. Heavy imports are inside the commands, so that `--help` is fast."""
