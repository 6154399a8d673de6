"""The pages of one's own account, below /account."""
