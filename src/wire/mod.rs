//! Bytes and values: frames, datagrams, the seal, the reasons. No I/O, no clock.
