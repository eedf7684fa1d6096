#include "yurt.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void append_list(text_t *to, const char *format, va_list parts) {
    va_list again;
    va_copy(again, parts);
    int more = vsnprintf(NULL, 0, format, again);
    va_end(again);
    ENSURE(more >= 0);
    // vsnprintf ends with a zero, which is not counted.
    to->ptr = realloc(to->ptr, to->len + (size_t)more + 1);
    ENSURE(to->ptr);
    vsnprintf((char *)to->ptr + to->len, (size_t)more + 1, format, parts);
    to->len += (size_t)more;
}

text_t text(const char *format, ...) {
    text_t made = {0};
    va_list parts;
    va_start(parts, format);
    append_list(&made, format, parts);
    va_end(parts);
    return made;
}

void append(text_t *to, const char *format, ...) {
    va_list parts;
    va_start(parts, format);
    append_list(to, format, parts);
    va_end(parts);
}

text_t copy(text_t from) { return text("%.*s", SHOW(from)); }

bool same(text_t a, text_t b) { return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0); }

bool is(text_t a, const char *b) { return same(a, (text_t){.ptr = (uint8_t *)b, .len = strlen(b)}); }

guest_option_string_t some(text_t text) { return (guest_option_string_t){.is_some = true, .val = text}; }

void push(void **elements, size_t *count, size_t size) {
    // There is room for the next power of two.
    if ((*count & (*count - 1)) == 0) {
        size_t room = *count ? *count * 2 : 1;
        *elements = realloc(*elements, room * size);
        ENSURE(*elements);
    }
    memset((char *)*elements + *count * size, 0, size);
    ++*count;
}

void log_line(log_level_t level, text_t line) { log_write(level, &line); }

const char *file_of(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

_Noreturn void broken(const char *condition, const char *file, int line, const char *function) {
    char said[256];
    int length = snprintf(said, sizeof said, "%s does not hold (%s:%d, in %s)", condition, file, line, function);
    text_t message = {.ptr = (uint8_t *)said, .len = length < (int)sizeof said ? (size_t)length : sizeof said - 1};
    log_write(LOG_LEVEL_ERROR, &message);
    __builtin_trap();
}

// JSON, as the host writes it: valid UTF-8, at most a few levels deep.

typedef struct {
    const uint8_t *at, *end;
    int depth;
} reader_t;

static json_t nothing;

static json_t *value(reader_t *from);

static int peek(reader_t *from) {
    while (from->at < from->end && strchr(" \t\r\n", *from->at) && *from->at) from->at++;
    return from->at < from->end ? *from->at : -1;
}

static bool takes(reader_t *from, const char *word) {
    size_t length = strlen(word);
    if ((size_t)(from->end - from->at) < length || memcmp(from->at, word, length) != 0) return false;
    from->at += length;
    return true;
}

static long hex4(reader_t *from) {
    if (from->end - from->at < 4) return -1;
    char digits[5] = {0}, *stop;
    memcpy(digits, from->at, 4);
    long code = strtol(digits, &stop, 16);
    from->at += 4;
    return stop == digits + 4 ? code : -1;
}

static bool escape(reader_t *from, text_t *to) {
    if (from->at == from->end) return false;
    static const char letters[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
    int letter = *from->at++;
    const char *known = letter ? strchr(letters, letter) : NULL;
    if (known) return append(to, "%c", meanings[known - letters]), true;
    long code = letter == 'u' ? hex4(from) : -1;
    if (code >= 0xd800 && code < 0xdc00 && takes(from, "\\u")) {
        long low = hex4(from);
        code = low >= 0xdc00 && low < 0xe000 ? 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00) : -1;
    }
    if (code <= 0 || (code >= 0xd800 && code < 0xe000)) return false;
    if (code < 0x80) append(to, "%c", (int)code);
    else if (code < 0x800) append(to, "%c%c", (int)(0xc0 | code >> 6), (int)(0x80 | (code & 63)));
    else if (code < 0x10000) append(to, "%c%c%c", (int)(0xe0 | code >> 12), (int)(0x80 | (code >> 6 & 63)), (int)(0x80 | (code & 63)));
    else append(to, "%c%c%c%c", (int)(0xf0 | code >> 18), (int)(0x80 | (code >> 12 & 63)), (int)(0x80 | (code >> 6 & 63)), (int)(0x80 | (code & 63)));
    return true;
}

static bool quoted(reader_t *from, text_t *to) {
    if (peek(from) != '"') return false;
    from->at++;
    *to = text("%s", "");
    while (from->at < from->end) {
        const uint8_t *plain = from->at;
        while (from->at < from->end && *from->at != '"' && *from->at != '\\') from->at++;
        append(to, "%.*s", (int)(from->at - plain), (const char *)plain);
        if (from->at == from->end) return false;
        if (*from->at++ == '"') return true;
        if (!escape(from, to)) return false;
    }
    return false;
}

static bool elements(reader_t *from, json_t *into, char close) {
    json_t **last = &into->first;
    from->at++;
    if (peek(from) == close) return from->at++, true;
    for (;;) {
        text_t key = {0};
        if (into->kind == JSON_OBJECT) {
            if (!quoted(from, &key) || peek(from) != ':') return false;
            from->at++;
        }
        json_t *element = value(from);
        if (!element) return false;
        element->key = key;
        *last = element;
        last = &element->next;
        int after = peek(from);
        from->at++;
        if (after == close) return true;
        if (after != ',') return false;
    }
}

static json_t *value(reader_t *from) {
    json_t *made = calloc(1, sizeof *made);
    ENSURE(made);
    int begin = peek(from);
    bool good;
    if (++from->depth > 64) good = false;
    else if (begin == '{') made->kind = JSON_OBJECT, good = elements(from, made, '}');
    else if (begin == '[') made->kind = JSON_LIST, good = elements(from, made, ']');
    else if (begin == '"') made->kind = JSON_TEXT, good = quoted(from, &made->text);
    else if (begin == 't') made->kind = JSON_TRUE, good = takes(from, "true");
    else if (begin == 'f') made->kind = JSON_FALSE, good = takes(from, "false");
    else if (begin == 'n') made->kind = JSON_NULL, good = takes(from, "null");
    else {
        const uint8_t *number = from->at;
        while (from->at < from->end && *from->at && strchr("+-.0123456789Ee", *from->at)) from->at++;
        made->kind = JSON_NUMBER;
        made->text = text("%.*s", (int)(from->at - number), (const char *)number);
        good = made->text.len > 0;
    }
    from->depth--;
    return good ? made : NULL;
}

const json_t *json(text_t text) {
    reader_t from = {.at = text.ptr, .end = text.ptr + text.len};
    const json_t *read = value(&from);
    return read && peek(&from) == -1 ? read : &nothing;
}

const json_t *member(const json_t *object, const char *key) {
    if (object->kind == JSON_OBJECT) {
        EACH(element, object) if (is(element->key, key)) return element;
    }
    return &nothing;
}
