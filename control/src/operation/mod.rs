//! Durable work: journal, lease, epoch, recovery.
