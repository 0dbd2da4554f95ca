"""Ways to get an answer at a price, and which of them a deadline leaves. Pure."""
