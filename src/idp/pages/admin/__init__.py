"""The pages of the administration, below /admin."""
