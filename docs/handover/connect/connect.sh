#!/bin/bash
# Run from the work tree once crates/engine/src/lib.rs declares `pub mod containers` (with list, inspect, wait, attach, exec...).
set -e
cp docs/handover/connect/users.rs.txt crates/engine/src/images/users.rs
cp docs/handover/connect/http-lib.rs.txt crates/engine-http/src/lib.rs
for m in "pub mod logs;" "mod networks;" "pub mod system;"; do grep -qx "$m" crates/engine/src/lib.rs || sed -i "0,/^mod names;/s//mod names;\n$m/" crates/engine/src/lib.rs; done
echo "Inner needs: events: events::Bus::new(clock), images: images::Store::new(layer), network: lighter_network::Network"
cargo check -p lighter-engine-http
