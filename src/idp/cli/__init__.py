"""The commands: one file a group. Heavy imports stay inside the commands, so that `--help` answers at once."""
