"""Side-by-side timings: ours and the alternative in turn, in one process."""
