//! Image
