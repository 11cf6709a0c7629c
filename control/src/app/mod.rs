//! Apps, over all their servers: releases and management.
