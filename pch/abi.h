// The boundary between the load balancer and a script: plain C structures, and who owns what.
//
// Scripts include <kiln.h>, the C++ over this. Nothing here changes layout within one KILN_ABI_VERSION.
//
// Ownership: everything that a request points to belongs to the host and lives until the hook
// returns. Everything that an action points to lives in the request's arena, in the image, or in
// static storage, and must live until the host has read the action, right after the hook returned.
#pragma once

#include <stddef.h>
#include <stdint.h>

#define KILN_ABI_VERSION 2

#ifdef __cplusplus
extern "C" {
#endif

// Bytes; not terminated by NUL.
typedef struct kiln_str {
  const char *data;
  size_t size;
} kiln_str;

// One field line (RFC 9110, section 5).
typedef struct kiln_field {
  kiln_str name;
  kiln_str value;
} kiln_field;

// Field names that requests carry so often that the host notes where they are.
enum kiln_common_field {
  KILN_FIELD_HOST,
  KILN_FIELD_USER_AGENT,
  KILN_FIELD_ACCEPT,
  KILN_FIELD_ACCEPT_ENCODING,
  KILN_FIELD_ACCEPT_LANGUAGE,
  KILN_FIELD_AUTHORIZATION,
  KILN_FIELD_COOKIE,
  KILN_FIELD_CONTENT_TYPE,
  KILN_FIELD_CONTENT_LENGTH,
  KILN_FIELD_REFERER,
  KILN_FIELD_X_FORWARDED_FOR,
  KILN_FIELD_COMMON_COUNT
};

// A parsed request head. Read-only to the script.
typedef struct kiln_request {
  kiln_str method;
  kiln_str target;          // as in the request line
  kiln_str path;            // without the query
  kiln_str query;           // without the '?'
  kiln_str authority;       // host, with the port if it was given
  kiln_str client_address;  // IPv4 or IPv6 address in its usual notation
  const kiln_field *fields;
  uint32_t fields_count;
  uint16_t client_port;
  // One more than the index of the first field of that name, or 0.
  uint16_t common[KILN_FIELD_COMMON_COUNT];
} kiln_request;

enum kiln_edit_kind { KILN_EDIT_SET, KILN_EDIT_ADD, KILN_EDIT_REMOVE };

enum kiln_log_level { KILN_LOG_ERROR, KILN_LOG_WARN, KILN_LOG_INFO, KILN_LOG_DEBUG };

// Every effect that a script can have: the host gives another table to test, replay or fuzz it.
typedef struct kiln_host {
  uint32_t abi_version;
  uint32_t size;  // of this structure
  // Takes `size` bytes, aligned to 16, of the request's arena, which grows in place: there may be more
  // free bytes afterwards. NULL when the request has used up its share.
  void *(*allocate)(size_t size);
  // Changes the request that goes upstream; false when name or value is not valid in a field line
  // (RFC 9110, sections 5.1 and 5.5), the host itself writes the field, or there are too many changes.
  bool (*edit)(enum kiln_edit_kind kind, kiln_str name, kiln_str value);
  void (*log)(enum kiln_log_level level, kiln_str text);
  uint64_t (*monotonic_ns)(void);  // CLOCK_MONOTONIC
  uint64_t (*realtime_ns)(void);   // since 1970-01-01 00:00 UTC
  uint64_t (*random)(void);        // 64 uniform bits; not for secrets
} kiln_host;

// What the running hook works with. The host points `kiln_current` here before each call; it is NULL
// in static initialisers.
typedef struct kiln_context {
  const kiln_host *host;
  char *arena_next;  // free bytes of the request's arena: from here
  char *arena_end;   // to here
} kiln_context;

extern kiln_context *kiln_current;

enum kiln_action_kind {
  KILN_ACTION_NEXT = 1,  // the next script decides
  KILN_ACTION_FORWARD,
  KILN_ACTION_REPLY,
  KILN_ACTION_CLOSE
};

// A response field that a script adds; a list, newest first.
typedef struct kiln_reply_field {
  kiln_field field;
  const struct kiln_reply_field *next;
} kiln_reply_field;

// What a hook returns.
typedef struct kiln_action {
  uint32_t kind;    // kiln_action_kind
  uint32_t status;  // of a reply
  kiln_str text;    // upstream of a forward, content of a reply
  const kiln_reply_field *fields;
  kiln_str key;  // of a forward, for upstreams that balance by hash; empty: the client's address
} kiln_action;

#ifdef __cplusplus
}
#endif
