//! The data plane: userland port proxy and its keeper.
