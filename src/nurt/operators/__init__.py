"""The Bytewax steps: each reads state, lets the core decide, writes and says."""
