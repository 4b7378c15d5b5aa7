//! Read and write buffers, borrowed from the thread for as long as bytes are under way.
//!
//! An idle connection owns no buffer at all: that is what makes ten thousand of them cheap. Each runtime thread keeps a
//! few warm buffers; beyond that, and for oversized ones, the allocator does its work.

use std::cell::RefCell;

use bytes::BytesMut;

/// Room of a fresh buffer: what one read takes at most before messages are handled.
const BUFFER_BYTES: usize = 16 * 1024;
/// A buffer that grew beyond this is not kept.
const MAX_POOLED_BUFFER_BYTES: usize = 128 * 1024;
/// Buffers of each kind that a thread keeps.
const MAX_POOLED_BUFFERS: usize = 8;

thread_local! {
    static READ_BUFFERS: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
    static WRITE_BUFFERS: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// A buffer to read into, which begins with what was left of the last one.
pub fn take_read_buffer(mut left: BytesMut) -> BytesMut {
    if left.len() > BUFFER_BYTES / 2 {
        left.reserve(BUFFER_BYTES);
        return left;
    }
    let mut buffer = READ_BUFFERS.with_borrow_mut(Vec::pop).unwrap_or_else(|| BytesMut::with_capacity(BUFFER_BYTES));
    buffer.extend_from_slice(&left);
    buffer
}

/// Takes a read buffer back. What is left in it is copied to a buffer of its own size, so that a client that stops in the
/// middle of a frame holds what it sent and no more.
pub fn return_read_buffer(mut buffer: BytesMut) -> BytesMut {
    let left = if buffer.is_empty() { BytesMut::new() } else { BytesMut::from(&buffer[..]) };
    buffer.clear();
    // `reserve` reclaims what was consumed at the front.
    buffer.reserve(BUFFER_BYTES);
    if buffer.capacity() <= MAX_POOLED_BUFFER_BYTES {
        READ_BUFFERS.with_borrow_mut(|kept| {
            if kept.len() < MAX_POOLED_BUFFERS {
                kept.push(buffer);
            }
        });
    }
    left
}

/// An empty buffer to write from.
pub fn take_write_buffer() -> Vec<u8> {
    WRITE_BUFFERS.with_borrow_mut(Vec::pop).unwrap_or_else(|| Vec::with_capacity(BUFFER_BYTES))
}

/// Takes a write buffer back.
pub fn return_write_buffer(mut buffer: Vec<u8>) {
    buffer.clear();
    if (1..=MAX_POOLED_BUFFER_BYTES).contains(&buffer.capacity()) {
        WRITE_BUFFERS.with_borrow_mut(|kept| {
            if kept.len() < MAX_POOLED_BUFFERS {
                kept.push(buffer);
            }
        });
    }
}
