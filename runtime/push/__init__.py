"""Push notifications: webhooks as readers of the journal with durable cursors."""
