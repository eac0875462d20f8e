"""HTTP and the vendors' words: what comes in, what goes out. No arrays, queues, stores or clock."""
