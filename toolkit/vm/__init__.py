"""Start a VMM, talk to the agent in it (ttrpc), and prove a built set."""
