//! Pull, unpack, list and delete images over the two store traits.
