// Gives USB devices the names that rules say: the first rule that matches a device decides its group.

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "yurt.h"

static const char config_spec[] =
    "object {\n"
    "  default \"vendor_name\" {\n"
    "    attr {\n"
    "      name = \"vendor_name\"\n"
    "      type = string\n"
    "    }\n"
    "    literal {\n"
    "      value = \"shelf\"\n"
    "    }\n"
    "  }\n"
    "  block_list \"rule\" {\n"
    "    object {\n"
    "      attr \"vendor\" {\n"
    "        type     = string\n"
    "        required = true\n"
    "      }\n"
    "      attr \"product\" {\n"
    "        type = string\n"
    "      }\n"
    "      attr \"group\" {\n"
    "        type     = string\n"
    "        required = true\n"
    "      }\n"
    "    }\n"
    "  }\n"
    "}\n";

void exports_policy_describe(exports_policy_description_t *answer) {
    *answer = (exports_policy_description_t){
        .name = text("shelf"),
        .version = text("0.1.0"),
        .summary = text("Gives USB devices the names that rules say."),
        .config_spec = text("%s", config_spec),
    };
}

// Exactly four digits, so that a decimal number is never taken for one. -1: it is none.
static long usb_id(text_t id) {
    if (id.len != 6 || memcmp(id.ptr, "0x", 2) != 0) return -1;
    for (size_t at = 2; at < 6; at++) {
        if (!isxdigit(id.ptr[at])) return -1;
    }
    return strtol((const char *)copy(id).ptr, NULL, 16);
}

static bool is_group_name(text_t name) {
    for (size_t at = 0; at < name.len; at++) {
        int c = name.ptr[at];
        if (!islower(c) && (at == 0 || (!isdigit(c) && c != '-'))) return false;
    }
    return name.len > 0;
}

static bool is_covered(const json_t *rule, const json_t *by) {
    const json_t *product = member(by, "product");
    return same(member(by, "vendor")->text, member(rule, "vendor")->text) &&
           (product->kind == JSON_NULL || same(product->text, member(rule, "product")->text));
}

void exports_policy_check_config(exports_policy_json_t *config, exports_policy_list_diagnostic_t *found) {
    *found = (exports_policy_list_diagnostic_t){0};
    const json_t *rules = member(json(*config), "rule");
    ENSURE(rules->kind == JSON_LIST);
    if (!rules->first) {
        *PUSH(*found) = (common_diagnostic_t){
            .severity = COMMON_SEVERITY_WARNING,
            .path = text("rule"),
            .message = text("without a rule nothing is offered"),
            .hint = some(text("rule { vendor = \"0x12f7\", group = \"stick\" }")),
        };
    }
    int at = 0;
    EACH(rule, rules) {
        static const char *const keys[] = {"vendor", "product"};
        for (size_t k = 0; k < 2; k++) {
            const json_t *id = member(rule, keys[k]);
            if (id->kind == JSON_NULL || usb_id(id->text) >= 0) continue;
            *PUSH(*found) = (common_diagnostic_t){
                .severity = COMMON_SEVERITY_ERROR,
                .path = text("rule[%d].%s", at, keys[k]),
                .message = text("\"%.*s\" is no USB id", SHOW(id->text)),
                .hint = some(text("0x and four hexadecimal digits, as in \"0x12f7\"")),
            };
        }
        text_t group = member(rule, "group")->text;
        if (!is_group_name(group)) {
            *PUSH(*found) = (common_diagnostic_t){
                .severity = COMMON_SEVERITY_ERROR,
                .path = text("rule[%d].group", at),
                .message = text("\"%.*s\" cannot be the name of a group", SHOW(group)),
                .hint = some(text("lower-case letters, digits and -, a letter first")),
            };
        }
        int before = 0;
        EACH(earlier, rules) {
            if (earlier == rule) break;
            if (is_covered(rule, earlier)) {
                *PUSH(*found) = (common_diagnostic_t){
                    .severity = COMMON_SEVERITY_WARNING,
                    .path = text("rule[%d]", at),
                    .message = text("never used: rule[%d] takes the same devices", before),
                };
                break;
            }
            before++;
        }
        at++;
    }
}

static bool matches(const json_t *rule, const usb_usb_device_t *device) {
    const json_t *product = member(rule, "product");
    return !device->is_hub && usb_id(member(rule, "vendor")->text) == device->vendor_id &&
           (product->kind == JSON_NULL || usb_id(product->text) == device->product_id);
}

// By the serial number where it is the device's own and may stand in an id, else by the place.
static text_t id_of(const usb_usb_device_t *device) {
    bool own = device->serial.is_some && device->serial_quality == USB_SERIAL_QUALITY_UNIQUE;
    text_t serial = device->serial.val.text;
    for (size_t at = 0; own && at < serial.len; at++) own = isalnum(serial.ptr[at]) || strchr("._-", serial.ptr[at]);
    return own ? text("sn-%.*s", SHOW(serial)) : text("port-%.*s", SHOW(device->key));
}

// The first reason why a device cannot be used; no text: none.
static text_t trouble(const usb_usb_device_t *device) {
    if (device->life.presence == USB_PRESENCE_ABSENT) return text("unplugged");
    if (!device->access.authorised) return text("not authorised");
    if (device->access.over_current) return text("over-current at its port");
    if (!device->configuration.is_some) return text("not configured");
    if (!device->access.openable) return text("no permission to open it");
    for (size_t at = 0; at < device->nodes.len; at++) {
        if (device->nodes.ptr[at].in_use) return text("%.*s is in use on this machine", SHOW(device->nodes.ptr[at].path));
    }
    return (text_t){0};
}

static exports_policy_instance_t instance(const usb_usb_device_t *device) {
    exports_policy_instance_t made = {.id = id_of(device)};
    *PUSH(made.members) = copy(device->key);
    text_t reason = trouble(device);
    if (reason.len > 0) {
        made.health.tag = EXPORTS_POLICY_HEALTH_UNHEALTHY;
        made.health.val.unhealthy = reason;
    }
    return made;
}

typedef struct {
    const usb_usb_device_t **ptr;
    size_t len;
} devices_t;

// What a job can ask for, of all devices of a group.
static exports_policy_list_attribute_t attributes(devices_t devices) {
    text_t vendors = text("%s", "");
    unsigned usb = 0xffff, milliamps = 0;
    bool serials = true;
    for (size_t at = 0; at < devices.len; at++) {
        const usb_usb_device_t *device = devices.ptr[at];
        bool known = false;
        for (size_t before = 0; before < at; before++) known |= devices.ptr[before]->vendor_id == device->vendor_id;
        if (!known) append(&vendors, "%s0x%04x", vendors.len > 0 ? "," : "", device->vendor_id);
        if (device->usb_release < usb) usb = device->usb_release;
        if (device->configuration.is_some && device->configuration.val.max_milliamps > milliamps) {
            milliamps = device->configuration.val.max_milliamps;
        }
        serials &= device->serial.is_some;
    }
    double version = ((usb >> 8) * 100 + (usb >> 4 & 15) * 10 + (usb & 15)) / 100.0;
    exports_policy_list_attribute_t made = {0};
    *PUSH(made) = (common_attribute_t){.name = text("vendors"), .value = {COMMON_VALUE_TEXT, {.text = vendors}}};
    *PUSH(made) = (common_attribute_t){.name = text("usb_version"), .value = {COMMON_VALUE_NUMBER, {.number = version}}};
    *PUSH(made) = (common_attribute_t){
        .name = text("max_power"), .value = {COMMON_VALUE_INTEGER, {.integer = milliamps * 5}}, .unit = some(text("mW"))};
    *PUSH(made) = (common_attribute_t){.name = text("serials"), .value = {COMMON_VALUE_FLAG, {.flag = serials}}};
    return made;
}

static bool holds(guest_list_string_t ids, text_t id) {
    for (size_t at = 0; at < ids.len; at++) {
        if (same(ids.ptr[at], id)) return true;
    }
    return false;
}

bool exports_policy_group(exports_policy_json_t *config, usb_snapshot_t *facts, exports_policy_json_t *memory,
                          exports_policy_offer_t *offer, guest_string_t *err) {
    *offer = (exports_policy_offer_t){0};
    const json_t *settings = json(*config), *rules = member(settings, "rule");
    if (rules->kind != JSON_LIST) return BROKEN(err, "the configuration has no list of rules");

    // The devices of each group, in the order of the groups of the offer.
    struct {
        devices_t *ptr;
        size_t len;
    } gathered = {0};
    for (size_t at = 0; at < facts->devices.len; at++) {
        const usb_usb_device_t *device = &facts->devices.ptr[at];
        const json_t *rule = rules->first;
        while (rule && !matches(rule, device)) rule = rule->next;
        if (!rule) continue;
        if (device->life.presence == USB_PRESENCE_SETTLING) {
            offer->ask_again_milliseconds = (guest_option_u32_t){true, 250};
            continue;
        }
        text_t name = member(rule, "group")->text;
        size_t group = 0;
        while (group < offer->groups.len && !same(offer->groups.ptr[group].name.name, name)) group++;
        if (group == offer->groups.len) {
            PUSH(offer->groups)->name = (exports_policy_group_name_t){
                .vendor = copy(member(settings, "vendor_name")->text), .kind = text("usb"), .name = copy(name)};
            PUSH(gathered);
        }
        *PUSH(gathered.ptr[group]) = device;
    }

    guest_list_string_t before = {0}, ids = {0};
    EACH(id, member(json(*(memory ? memory : &(text_t){0})), "ids")) *PUSH(before) = id->text;
    text_t remembered = text("{\"ids\":[");
    for (size_t group = 0; group < gathered.len; group++) {
        offer->groups.ptr[group].attributes = attributes(gathered.ptr[group]);
        for (size_t at = 0; at < gathered.ptr[group].len; at++) {
            exports_policy_instance_t offered = instance(gathered.ptr[group].ptr[at]);
            *PUSH(offer->groups.ptr[group].instances) = offered;
            append(&remembered, "%s\"%.*s\"", ids.len > 0 ? "," : "", SHOW(offered.id));
            *PUSH(ids) = offered.id;
        }
    }
    append(&remembered, "]}");
    offer->memory.is_some = true;
    offer->memory.val = remembered;

    for (size_t at = 0; at < ids.len; at++) {
        if (!holds(before, ids.ptr[at])) INFO("%.*s is offered", SHOW(ids.ptr[at]));
    }
    for (size_t at = 0; at < before.len; at++) {
        if (!holds(ids, before.ptr[at])) INFO("%.*s is gone", SHOW(before.ptr[at]));
    }
    return true;
}

static const usb_usb_device_t *find(const usb_snapshot_t *facts, text_t key) {
    for (size_t at = 0; at < facts->devices.len; at++) {
        if (same(facts->devices.ptr[at].key, key)) return &facts->devices.ptr[at];
    }
    return NULL;
}

bool exports_policy_reserve(exports_policy_json_t *config, usb_snapshot_t *facts, exports_policy_group_name_t *group,
                            exports_policy_list_instance_t *reserved, exports_policy_reservation_t *answer, guest_string_t *err) {
    (void)config;
    *answer = (exports_policy_reservation_t){0};
    text_t variable = text("YURT_%.*s", SHOW(group->name));
    for (size_t at = 0; at < variable.len; at++) variable.ptr[at] = variable.ptr[at] == '-' ? '_' : (uint8_t)toupper(variable.ptr[at]);

    for (size_t at = 0; at < reserved->len; at++) {
        guest_list_string_t members = reserved->ptr[at].members;
        for (size_t m = 0; m < members.len; m++) {
            text_t key = members.ptr[m];
            const usb_usb_device_t *device = find(facts, key);
            if (!device) return FAIL(err, "device %.*s is not among the facts", SHOW(key));
            size_t usbfs = 0;
            while (usbfs < device->nodes.len && !is(device->nodes.ptr[usbfs].subsystem, "usb_device")) usbfs++;
            if (usbfs == device->nodes.len) return FAIL(err, "device %.*s has no usbfs node", SHOW(key));
            size_t number = answer->nodes.len;
            text_t name = number == 0 ? copy(variable) : text("%.*s_%zu", SHOW(variable), number + 1);
            *PUSH(answer->env) = (exports_policy_granted_env_t){
                .name = name, .value = {EXPORTS_POLICY_ENV_VALUE_NODE_PATH, {.node_path = (uint32_t)number}}};
            *PUSH(answer->nodes) = (exports_policy_node_grant_t){
                .member = copy(key), .node = (uint32_t)usbfs, .read = true, .write = true};
        }
    }
    return true;
}

static exports_policy_figure_t figure(double requests) {
    return (exports_policy_figure_t){
        .path = text("requests"),
        .value = {COMMON_VALUE_NUMBER, {.number = requests}},
        .unit = text("count"),
        .description = text("Requests to the device since it was plugged in"),
    };
}

bool exports_policy_stats(exports_policy_json_t *config, exports_policy_list_counter_set_t *counters,
                          exports_policy_list_instance_t *offered, exports_policy_list_instance_stats_t *answer, guest_string_t *err) {
    (void)config, (void)err;
    *answer = (exports_policy_list_instance_stats_t){0};
    for (size_t at = 0; at < offered->len; at++) {
        double requests = 0;
        for (size_t set = 0; set < counters->len; set++) {
            usb_counter_set_t own = counters->ptr[set];
            if (!holds(offered->ptr[at].members, own.key)) continue;
            for (size_t c = 0; c < own.counters.len; c++) {
                if (is(own.counters.ptr[c].name, "urbs")) requests += own.counters.ptr[c].total;
            }
        }
        exports_policy_instance_stats_t *stats = PUSH(*answer);
        stats->id = copy(offered->ptr[at].id);
        stats->summary = figure(requests);
        *PUSH(stats->figures) = figure(requests);
    }
    return true;
}
