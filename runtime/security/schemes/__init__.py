"""Who calls: schemes of authentication and how they combine. What needs HTTP is in transports."""
