// What a policy needs beside the generated bindings: texts, lists that grow, JSON, the log, failures that say where.
//
// Every call runs in a fresh instance, so nothing has to be freed: memory goes with the call. What stands in an answer must come from
// here (or from malloc), because the bindings free it once the host has read it. An answer is not zeroed before the call: begin with that.
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "bindings/guest.h"

typedef guest_string_t text_t;

// A text from a printf format; SHOW(text) stands for "%.*s".
text_t text(const char *format, ...) __attribute__((format(printf, 1, 2)));
void append(text_t *to, const char *format, ...) __attribute__((format(printf, 2, 3)));
#define SHOW(text) (int)(text).len, (const char *)(text).ptr
text_t copy(text_t from);
bool same(text_t a, text_t b);
bool is(text_t a, const char *b);
guest_option_string_t some(text_t text);

// Adds a zeroed element to a list of the bindings, and gives its address: `*PUSH(list) = element;`
#define PUSH(list) (push((void **)&(list).ptr, &(list).len, sizeof *(list).ptr), (list).ptr + (list).len - 1)
void push(void **elements, size_t *count, size_t size);

// A value of JSON. What is not there is a null.
typedef struct json {
    enum { JSON_NULL, JSON_FALSE, JSON_TRUE, JSON_NUMBER, JSON_TEXT, JSON_LIST, JSON_OBJECT } kind;
    text_t text;         // of JSON_TEXT; of JSON_NUMBER as it is written
    text_t key;          // within an object
    struct json *first;  // of JSON_LIST and JSON_OBJECT
    struct json *next;   // within a list or an object
} json_t;

// Null where the text is no JSON.
const json_t *json(text_t text);
const json_t *member(const json_t *object, const char *key);
#define EACH(element, list) for (const json_t *element = (list)->first; element; element = element->next)

void log_line(log_level_t level, text_t line);
#define INFO(...) log_line(LOG_LEVEL_INFO, text(__VA_ARGS__))
#define WARN(...) log_line(LOG_LEVEL_WARN, text(__VA_ARGS__))

// Answers a call with an error, `device 1-1 has no usbfs node`: return FAIL(err, "device %.*s has no usbfs node", SHOW(key));
#define FAIL(err, ...) (*(err) = text(__VA_ARGS__), false)
// The same for what should never be: `a rule has no vendor (policy.c:27, in group)`.
#define BROKEN(err, message) FAIL(err, "%s (%s:%d, in %s)", message, file_of(__FILE__), __LINE__, __func__)
// Where there is no error to answer with: a line in the log, and the call fails.
#define ENSURE(condition) ((condition) ? (void)0 : broken(#condition, file_of(__FILE__), __LINE__, __func__))
const char *file_of(const char *path);
_Noreturn void broken(const char *condition, const char *file, int line, const char *function);
