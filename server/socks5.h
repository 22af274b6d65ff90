/* socks5.h - the little of SOCKS5 (RFC 1928) that clients speak to a relay of bytestreams (XEP-0065): no
 * authentication, and CONNECT to a name that is no host but the hash by which two of them find each other. Pure
 * functions; relay.c collects the bytes. */
#ifndef MUSTER_SOCKS5_H
#define MUSTER_SOCKS5_H

#include <stddef.h>

#define SOCKS5_HASH 40            /* hexadecimal digits of SHA-1 */
#define SOCKS5_GREETING_MAX 257   /* version, count, that many methods */
#define SOCKS5_REQUEST_SIZE 47    /* with a hash; no other is taken */
#define SOCKS5_NO_METHOD "\5\377" /* the answer to a greeting without the method that is spoken here */
#define SOCKS5_METHOD "\5\0"      /* and to one with it */

enum socks5_result {
	SOCKS5_MORE, /* what is there is the beginning of one */
	SOCKS5_DONE,
	SOCKS5_WRONG, /* another version, or no SOCKS at all: there is no answer that it would know */
	/* what is refused with an answer: RFC 1928 sections 3 and 6 */
	SOCKS5_WRONG_METHOD,  /* it does not offer to come without authentication */
	SOCKS5_WRONG_COMMAND, /* not CONNECT */
	SOCKS5_WRONG_TYPE,    /* an address that is not a name */
	SOCKS5_WRONG_NAME     /* a name that is not a hash: this relay connects to nobody */
};

/* The client's first word. Done: *size bytes of it. */
enum socks5_result socks5_greeting(const char *data, size_t n, size_t *size);
/* Its second. Done: SOCKS5_REQUEST_SIZE bytes; the hash, in lower case, is in `hash`. */
enum socks5_result socks5_request(const char *data, size_t n, char hash[SOCKS5_HASH + 1]);

/* The code of RFC 1928 section 6 that refuses a request. */
enum socks5_refusal { SOCKS5_NOT_ALLOWED = 2, SOCKS5_COMMAND_UNKNOWN = 7, SOCKS5_TYPE_UNKNOWN = 8 };
#define SOCKS5_REFUSAL_SIZE 10
void socks5_refuse(enum socks5_refusal code, char out[SOCKS5_REFUSAL_SIZE]);

#endif
