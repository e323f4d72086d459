"""What a launch looks at and says before a run begins: the input's logs (`logs`), and what a rebuild reads (`rebuild`).

What may come in: another check that can refuse a start.
"""
