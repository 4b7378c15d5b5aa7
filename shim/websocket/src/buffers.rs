//! Thread-local pools of read and write buffers.
//!
//! An idle connection owns no buffers, so that memory does not grow with the number of idle connections. Each runtime
//! thread pools a few buffers; further and oversized ones are freed.

use std::cell::RefCell;

use bytes::BytesMut;

/// Capacity of a new buffer, which bounds one read.
const BUFFER_BYTES: usize = 16 * 1024;
/// Maximum capacity of a pooled buffer; larger ones are freed.
const MAX_POOLED_BUFFER_BYTES: usize = 128 * 1024;
/// Maximum pooled buffers of each kind per thread.
const MAX_POOLED_BUFFERS: usize = 8;

thread_local! {
    static READ_BUFFERS: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
    static WRITE_BUFFERS: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Returns a buffer to read into that begins with the unparsed bytes `left`.
pub fn take_read_buffer(mut left: BytesMut) -> BytesMut {
    if left.len() > BUFFER_BYTES / 2 {
        left.reserve(BUFFER_BYTES);
        return left;
    }
    let mut buffer = READ_BUFFERS.with_borrow_mut(Vec::pop).unwrap_or_else(|| BytesMut::with_capacity(BUFFER_BYTES));
    buffer.extend_from_slice(&left);
    buffer
}

/// Returns a read buffer to the pool. Its unparsed bytes are copied to a buffer of their exact size and returned, so
/// that an incomplete frame occupies no more memory than its bytes.
pub fn return_read_buffer(mut buffer: BytesMut) -> BytesMut {
    let left = if buffer.is_empty() { BytesMut::new() } else { BytesMut::from(&buffer[..]) };
    buffer.clear();
    // `reserve` reclaims the consumed bytes at the front.
    buffer.reserve(BUFFER_BYTES);
    if buffer.capacity() <= MAX_POOLED_BUFFER_BYTES {
        READ_BUFFERS.with_borrow_mut(|pool| {
            if pool.len() < MAX_POOLED_BUFFERS {
                pool.push(buffer);
            }
        });
    }
    left
}

/// Returns an empty buffer for outgoing frames.
pub fn take_write_buffer() -> Vec<u8> {
    WRITE_BUFFERS.with_borrow_mut(Vec::pop).unwrap_or_else(|| Vec::with_capacity(BUFFER_BYTES))
}

/// Returns a write buffer to the pool.
pub fn return_write_buffer(mut buffer: Vec<u8>) {
    buffer.clear();
    if (1..=MAX_POOLED_BUFFER_BYTES).contains(&buffer.capacity()) {
        WRITE_BUFFERS.with_borrow_mut(|pool| {
            if pool.len() < MAX_POOLED_BUFFERS {
                pool.push(buffer);
            }
        });
    }
}
