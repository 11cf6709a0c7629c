//! BOUNDARY: one agent, as the rest of the control plane sees it.
