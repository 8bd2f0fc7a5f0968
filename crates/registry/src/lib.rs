//! Distribution client: resolve, fetch, auth, mirrors.
