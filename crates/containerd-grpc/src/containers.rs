//! Containers: records of what a task is made from.
