"""Our judge of canaries beside the rules of others, on simulated traffic."""
