//! Every counter, gauge and histogram.
