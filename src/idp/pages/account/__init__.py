"""The pages of an account, below /account, for its user."""
