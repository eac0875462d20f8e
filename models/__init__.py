"""Pure mathematics: arrays in, arrays out. No store, queue, network, clock or logging."""
