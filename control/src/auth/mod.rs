//! Who a caller is: API tokens and certificates.
