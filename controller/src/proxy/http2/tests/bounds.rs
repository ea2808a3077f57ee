//! What a client can make a connection hold and do, whatever it sends.

use super::*;

/// The client may only take so many steps: each flood must end by itself.
// Holds LR-52
#[test]
fn floods_of_frames_end_the_connection() {
    let get = block(&GET);
    let rapid_reset = |id: u32| {
        let mut bytes = frame(HEADERS, END_HEADERS | END_STREAM, id, &get);
        bytes.extend(frame(RST_STREAM, 0, id, &8u32.to_be_bytes()));
        bytes
    };
    let open = frame(HEADERS, END_HEADERS, 1, &get);
    let floods = [
        ("ping", vec![], frame(PING, 0, 0, &[7; 8])),
        ("settings", vec![], frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0xff, 0xff])),
        ("priority", vec![], frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 1])),
        ("window update", vec![], frame(WINDOW_UPDATE, 0, 0, &1u32.to_be_bytes())),
        ("unknown", vec![], frame(0x7e, 0, 0, &[])),
        ("empty data", open.clone(), frame(DATA, 0, 1, &[])),
        ("continuation", frame(HEADERS, 0, 1, &get), frame(CONTINUATION, 0, 1, &[0x10, 1, b'x', 1, b'y'])),
        ("empty continuation", frame(HEADERS, 0, 1, &get), frame(CONTINUATION, 0, 1, &[])),
    ];
    for (name, first, flood) in floods {
        println!("{name}");
        with_raw(move |mut raw| {
            raw.send(&first);
            raw.flood(&flood);
        });
    }
    // In one write: the streams are reset before they are looked at. And one by one.
    for at_once in [1000, 1] {
        let bursts: Vec<Vec<u8>> = (0..1000u32)
            .map(|number| rapid_reset(number * 2 + 1))
            .collect::<Vec<_>>()
            .chunks(at_once)
            .map(<[_]>::concat)
            .collect();
        let begun = Rc::new(Cell::new(0));
        let count = begun.clone();
        let on_request = move |incoming| {
            count.set(count.get() + 1);
            // Never answered: only the client ends it.
            reactor::spawn(held(incoming));
        };
        serve_one(
            Limits::new(IDLE_NS, None),
            || false,
            on_request,
            move |stream| {
                let mut raw = Raw::new(stream);
                let mut writer = raw.stream.try_clone().unwrap();
                let writing = std::thread::spawn(move || {
                    bursts.iter().for_each(|burst| writer.write_all(burst).unwrap());
                    writer.shutdown(std::net::Shutdown::Write).unwrap();
                });
                assert_eq!(raw.goodbye(), ENHANCE_YOUR_CALM);
                writing.join().unwrap();
            },
        );
        let most = (wire::ALLOWANCE / RESET_COST) as usize + STREAMS as usize;
        assert!(begun.get() <= most, "{at_once} at once: {} requests begun", begun.get());
    }
}

/// Waits until the client gives the request up.
async fn held(incoming: Incoming) {
    poll_fn(|cx| incoming.stream.poll_gone(cx)).await;
}

/// SETTINGS that change one value.
fn setting(id: u16, value: u32) -> Vec<u8> {
    let mut payload = id.to_be_bytes().to_vec();
    payload.extend_from_slice(&value.to_be_bytes());
    frame(SETTINGS, 0, 0, &payload)
}

const INITIAL_WINDOW_SIZE: u16 = 4;

// Holds LR-50
#[test]
fn heads_that_are_too_large_are_answered_as_in_http1_and_huge_ones_431() {
    let large = "v".repeat(32 * 1024);
    let path = format!("/{large}");
    let huge = "v".repeat(FIELD_SECTION as usize);
    let mut long_path = GET.to_vec();
    long_path[3].1 = &path;
    let mut large_field = GET.to_vec();
    large_field.push(("x-y", &large));
    let mut huge_field = GET.to_vec();
    huge_field.push(("x-y", &huge));
    for (fields, status) in [(long_path, 414), (large_field, 400), (huge_field, 0)] {
        let block = block(&fields);
        let outcomes = with_raw(move |mut raw| {
            let parts: Vec<&[u8]> = block.chunks(16 * 1024).collect();
            for (number, part) in parts.iter().enumerate() {
                let flags = if number + 1 == parts.len() { END_HEADERS } else { 0 };
                let (kind, flags) =
                    if number == 0 { (HEADERS, flags | END_STREAM) } else { (CONTINUATION, flags) };
                raw.send(&frame(kind, flags, 1, part));
            }
            let first = raw.outcome(1);
            raw.send(&get(3));
            (first, raw.outcome(3))
        });
        // Status 0: h2 answers without a body.
        assert_eq!(outcomes, (Outcome::Status(status), Outcome::Status(200)));
    }
}

#[test]
fn streams_beyond_the_limit_are_refused() {
    let limits = Limits { streams: 3, ..Limits::new(IDLE_NS, None) };
    let begun = Rc::new(Cell::new(0));
    let count = begun.clone();
    let on_request = move |incoming| {
        count.set(count.get() + 1);
        reactor::spawn(held(incoming));
    };
    serve_one(
        limits,
        || false,
        on_request,
        |stream| {
            let mut raw = Raw::new(stream);
            (0..4).for_each(|number| raw.send(&get(number * 2 + 1)));
            assert_eq!(raw.outcome(7), Outcome::Reset(REFUSED_STREAM));
        },
    );
    assert_eq!(begun.get(), 3);
}

#[test]
fn heads_of_all_streams_together_are_bounded() {
    let begun = Rc::new(Cell::new(0));
    let count = begun.clone();
    let on_request = move |incoming: Incoming| {
        count.set(count.get() + incoming.head.len());
        reactor::spawn(held(incoming));
    };
    serve_one(
        Limits::new(IDLE_NS, None),
        || false,
        on_request,
        |stream| {
            let mut raw = Raw::new(stream);
            let value = "v".repeat(15 * 1024);
            let mut fields = GET.to_vec();
            fields.push(("x-y", &value));
            let block = block(&fields);
            for number in 0..100 {
                raw.send(&frame(HEADERS, END_HEADERS | END_STREAM, number * 2 + 1, &block));
            }
            assert_eq!(raw.outcome(199), Outcome::Reset(REFUSED_STREAM));
        },
    );
    assert!(begun.get() >= HEADS_BYTES && begun.get() < HEADS_BYTES + 32 * 1024, "{}", begun.get());
}

/// A client that opens no window stalls its stream, until the request's deadline resets it.
// Holds LR-12
#[test]
fn a_closed_window_stalls_one_stream_and_a_reset_ends_it() {
    let on_request = |incoming: Incoming| {
        reactor::spawn(async move {
            let stream = incoming.stream;
            stream.send_head(Response::new(()), false).unwrap();
            let mut sent = 0;
            let deadline = Timer::new();
            deadline.set_after(1_000_000);
            poll_fn(|cx| {
                while let Poll::Ready(written) = stream.poll_write(cx, &[7; 1000]) {
                    sent += written.unwrap();
                }
                deadline.poll_expired(cx)
            })
            .await;
            assert_eq!(sent, 10);
            stream.reset(Reset::Internal);
        });
    };
    serve_one(
        Limits::new(IDLE_NS, None),
        || false,
        on_request,
        |stream| {
            let mut raw = Raw::new(stream);
            raw.send(&setting(INITIAL_WINDOW_SIZE, 10));
            for id in [1, 3] {
                raw.send(&get(id));
                assert_eq!(raw.outcome(id), Outcome::Reset(INTERNAL_ERROR));
            }
        },
    );
}

/// Windows are open, but nothing is read: what the streams hand over is bounded over all of them.
#[test]
fn a_client_that_reads_nothing_fills_no_memory() {
    let sent = Rc::new(Cell::new(0));
    let stalled = Rc::new(Cell::new(0));
    let (total, count) = (sent.clone(), stalled.clone());
    let (all_stalled, told) = std::sync::mpsc::channel();
    let on_request = move |incoming: Incoming| {
        let (total, count, all_stalled) = (total.clone(), count.clone(), all_stalled.clone());
        reactor::spawn(async move {
            let stream = incoming.stream;
            stream.send_head(Response::new(()), false).unwrap();
            let mut stalls = false;
            poll_fn(|cx| {
                // Everything that can be written now, in a client's favour.
                while let Poll::Ready(Ok(written)) = stream.poll_write(cx, &[7; 16 * 1024]) {
                    total.set(total.get() + written);
                }
                if !std::mem::replace(&mut stalls, true) {
                    count.set(count.get() + 1);
                    if count.get() == STREAMS {
                        all_stalled.send(()).unwrap();
                    }
                }
                stream.poll_gone(cx)
            })
            .await;
        });
    };
    let received = serve_one(
        Limits::new(IDLE_NS, None),
        || false,
        on_request,
        move |stream| {
            let mut raw = Raw::new(stream);
            raw.send(&setting(INITIAL_WINDOW_SIZE, 1 << 30));
            raw.send(&frame(WINDOW_UPDATE, 0, 0, &(1u32 << 30).to_be_bytes()));
            (0..STREAMS).for_each(|number| raw.send(&get(number * 2 + 1)));
            told.recv().unwrap();
            // What the kernel took is the client's: half of the connection is closed, so that it can be counted.
            raw.stream.shutdown(std::net::Shutdown::Write).unwrap();
            let mut received = Vec::new();
            let _ = raw.stream.read_to_end(&mut received);
            received.len()
        },
    );
    let kept = sent.get().saturating_sub(received);
    assert!(kept <= 512 * 1024, "{} bytes taken, {received} received", sent.get());
}

#[test]
fn a_client_that_resets_is_gone_for_its_request() {
    let (gone, told) = std::sync::mpsc::channel();
    let on_request = move |incoming: Incoming| {
        let gone = gone.clone();
        reactor::spawn(async move {
            let stream = incoming.stream;
            if incoming.head.starts_with(b"POST /running") {
                stream.send_head(Response::new(()), false).unwrap();
            }
            poll_fn(|cx| stream.poll_gone(cx)).await;
            let body = poll_fn(|cx| stream.poll_body(cx)).await;
            assert!(body.is_err());
            gone.send(()).unwrap();
        });
    };
    with_h2(
        Limits::new(IDLE_NS, None),
        || false,
        on_request,
        |mut handle| async move {
            for path in ["/waiting", "/running"] {
                let (response, mut body) = handle.send_request(request(path), false).unwrap();
                if path == "/running" {
                    drop(response.await.unwrap());
                }
                body.send_reset(Reason::CANCEL);
            }
            // Both tell, and the client's thread must drive its connection meanwhile.
            for _ in 0..2 {
                while told.try_recv().is_err() {
                    tokio::task::yield_now().await;
                }
            }
        },
    );
}
