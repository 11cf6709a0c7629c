//! nginx in front of the apps, and the traffic switch beneath it.
