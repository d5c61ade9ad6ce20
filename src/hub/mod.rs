//! Who is connected, and what goes to whom. Never awaits a client.
