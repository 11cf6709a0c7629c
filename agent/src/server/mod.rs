//! Listeners, guards, and the order of starting and stopping.
