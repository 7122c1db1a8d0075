"""The operations of A2A: messages, tasks, subscriptions, cards, results."""
