"""What would change: the variant that is proposed against what is live there. Pure.

Values in, rows out. Each row says what is live, what is proposed, and what the difference means
in words that a person could say. What nobody measured is unknown, never zero and never better.
"""
