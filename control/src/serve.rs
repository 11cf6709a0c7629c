//! What is started in which order, and how it stops.
