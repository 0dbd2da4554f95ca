"""What requests cost, before and after. Pure."""
