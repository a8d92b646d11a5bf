"""The part of libnghttp2's public C API that a client's connection needs, called by cffi.

`ngh2`'s extension module holds libnghttp2 and exports its API. What stands here is of nghttp2's documented header
(nghttp2.h, libnghttp2 1.64 and later), with `char` for `uint8_t`, which cffi turns into bytes at once.
"""

from __future__ import annotations

from typing import Any

import cffi  # type: ignore[import-untyped]  # it has none
import ngh2._core

ffi: Any = cffi.FFI()
ffi.cdef(
    """
    typedef struct nghttp2_session nghttp2_session;
    typedef struct nghttp2_session_callbacks nghttp2_session_callbacks;
    typedef struct nghttp2_option nghttp2_option;
    typedef struct { char *name; char *value; size_t namelen; size_t valuelen; uint8_t flags; } nghttp2_nv;
    typedef struct { int32_t settings_id; uint32_t value; } nghttp2_settings_entry;
    typedef struct { size_t length; int32_t stream_id; uint8_t type; uint8_t flags; uint8_t reserved; }
        nghttp2_frame_hd;
    typedef struct { nghttp2_frame_hd hd; uint32_t error_code; } nghttp2_rst_stream;
    typedef struct { nghttp2_frame_hd hd; size_t niv; nghttp2_settings_entry *iv; } nghttp2_settings;
    typedef struct { nghttp2_frame_hd hd; char opaque_data[8]; } nghttp2_ping;
    typedef struct { nghttp2_frame_hd hd; int32_t last_stream_id; uint32_t error_code; char *opaque_data;
        size_t opaque_data_len; uint8_t reserved; } nghttp2_goaway;
    typedef union { nghttp2_frame_hd hd; nghttp2_rst_stream rst_stream; nghttp2_settings settings; nghttp2_ping ping;
        nghttp2_goaway goaway; } nghttp2_frame;
    typedef union { int fd; void *ptr; } nghttp2_data_source;
    typedef ptrdiff_t (*read_callback2)(nghttp2_session *, int32_t stream_id, char *buf, size_t length,
        uint32_t *data_flags, nghttp2_data_source *source, void *user_data);
    typedef struct { nghttp2_data_source source; read_callback2 read_callback; } nghttp2_data_provider2;

    int nghttp2_option_new(nghttp2_option **);
    void nghttp2_option_del(nghttp2_option *);
    void nghttp2_option_set_no_auto_window_update(nghttp2_option *, int);
    void nghttp2_option_set_peer_max_concurrent_streams(nghttp2_option *, uint32_t);
    void nghttp2_option_set_no_rfc9113_leading_and_trailing_ws_validation(nghttp2_option *, int);

    int nghttp2_session_callbacks_new(nghttp2_session_callbacks **);
    void nghttp2_session_callbacks_set_on_begin_headers_callback(nghttp2_session_callbacks *,
        int (*)(nghttp2_session *, const nghttp2_frame *, void *));
    void nghttp2_session_callbacks_set_on_header_callback(nghttp2_session_callbacks *,
        int (*)(nghttp2_session *, const nghttp2_frame *, const char *name, size_t, const char *value, size_t,
        uint8_t flags, void *));
    void nghttp2_session_callbacks_set_on_frame_recv_callback(nghttp2_session_callbacks *,
        int (*)(nghttp2_session *, const nghttp2_frame *, void *));
    void nghttp2_session_callbacks_set_on_data_chunk_recv_callback(nghttp2_session_callbacks *,
        int (*)(nghttp2_session *, uint8_t flags, int32_t stream_id, const char *data, size_t, void *));
    void nghttp2_session_callbacks_set_on_stream_close_callback(nghttp2_session_callbacks *,
        int (*)(nghttp2_session *, int32_t stream_id, uint32_t error_code, void *));

    int nghttp2_session_client_new2(nghttp2_session **, const nghttp2_session_callbacks *, void *user_data,
        const nghttp2_option *);
    void nghttp2_session_del(nghttp2_session *);
    ptrdiff_t nghttp2_session_mem_recv2(nghttp2_session *, const char *in, size_t);
    ptrdiff_t nghttp2_session_mem_send2(nghttp2_session *, const char **data);
    int nghttp2_session_want_read(nghttp2_session *);
    int nghttp2_session_want_write(nghttp2_session *);
    int nghttp2_session_check_request_allowed(nghttp2_session *);
    int nghttp2_session_consume(nghttp2_session *, int32_t stream_id, size_t);
    int nghttp2_session_resume_data(nghttp2_session *, int32_t stream_id);
    int nghttp2_session_set_local_window_size(nghttp2_session *, uint8_t flags, int32_t stream_id, int32_t);
    int nghttp2_submit_settings(nghttp2_session *, uint8_t flags, const nghttp2_settings_entry *, size_t);
    int32_t nghttp2_submit_request2(nghttp2_session *, const void *priority, const nghttp2_nv *, size_t,
        const nghttp2_data_provider2 *, void *stream_user_data);
    int nghttp2_submit_trailer(nghttp2_session *, int32_t stream_id, const nghttp2_nv *, size_t);
    int nghttp2_submit_rst_stream(nghttp2_session *, uint8_t flags, int32_t stream_id, uint32_t error_code);
    int nghttp2_submit_ping(nghttp2_session *, uint8_t flags, const char *opaque_data);
    int nghttp2_submit_goaway(nghttp2_session *, uint8_t flags, int32_t last_stream_id, uint32_t error_code,
        const char *opaque_data, size_t);
    const char *nghttp2_strerror(int);
    """
)
lib: Any = ffi.dlopen(ngh2._core.__file__)

# nghttp2_error, as far as a callback returns one or we look at one.
ERR_DEFERRED, ERR_CALLBACK_FAILURE, ERR_FLOODED = -508, -902, -904
# nghttp2_data_flag.
DATA_FLAG_EOF, DATA_FLAG_NO_END_STREAM = 1, 2
