// Gives USB devices the names that rules say: the first rule that matches a device decides its group.
package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	_ "shelf/bindings/wit_exports"
	common "shelf/bindings/yurt_plugin_common"
	usb "shelf/bindings/yurt_plugin_usb"
	policy "shelf/bindings/yurt_plugin_usb_policy"
	"shelf/yurt"
)

const configSpec = `
object {
  default "vendor_name" {
    attr {
      name = "vendor_name"
      type = string
    }
    literal {
      value = "shelf"
    }
  }
  block_list "rule" {
    object {
      attr "vendor" {
        type     = string
        required = true
      }
      attr "product" {
        type = string
      }
      attr "group" {
        type     = string
        required = true
      }
    }
  }
}
`

type config struct {
	VendorName string `json:"vendor_name"`
	Rules      []rule `json:"rule"`
}

type rule struct {
	Vendor  string  `json:"vendor"`
	Product *string `json:"product"`
	Group   string  `json:"group"`
}

// memory is what was offered, to say what came and what went.
type memory struct {
	IDs []string `json:"ids"`
}

type guest struct{}

func init() { yurt.Serve[config, memory](guest{}) }

func main() {}

func (guest) Describe() common.Description {
	return common.Description{
		Name:       "shelf",
		Version:    "0.1.0",
		Summary:    "Gives USB devices the names that rules say.",
		ConfigSpec: configSpec,
	}
}

// Exactly four digits, so that a decimal number is never taken for one.
var usbID = regexp.MustCompile(`^0x[0-9a-fA-F]{4}$`)

var groupName = regexp.MustCompile(`^[a-z][a-z0-9-]*$`)

var fitsInID = regexp.MustCompile(`^[A-Za-z0-9._-]*$`)

func (guest) CheckConfig(config config) []common.Diagnostic {
	var found []common.Diagnostic
	if len(config.Rules) == 0 {
		hint := `rule { vendor = "0x12f7", group = "stick" }`
		found = append(found, common.Diagnostic{Severity: common.SeverityWarning, Path: "rule", Message: "without a rule nothing is offered", Hint: yurt.Text(hint)})
	}
	for at, rule := range config.Rules {
		wrong := func(key, message, hint string) {
			path := fmt.Sprintf("rule[%d].%s", at, key)
			found = append(found, common.Diagnostic{Severity: common.SeverityError, Path: path, Message: message, Hint: yurt.Text(hint)})
		}
		for _, id := range []struct {
			key  string
			text *string
		}{{"vendor", &rule.Vendor}, {"product", rule.Product}} {
			if id.text != nil && !usbID.MatchString(*id.text) {
				wrong(id.key, fmt.Sprintf(`"%s" is no USB id`, *id.text), `0x and four hexadecimal digits, as in "0x12f7"`)
			}
		}
		if !groupName.MatchString(rule.Group) {
			wrong("group", fmt.Sprintf(`"%s" cannot be the name of a group`, rule.Group), "lower-case letters, digits and -, a letter first")
		}
		earlier := slices.IndexFunc(config.Rules[:at], rule.isCoveredBy)
		if earlier >= 0 {
			message := fmt.Sprintf("never used: rule[%d] takes the same devices", earlier)
			found = append(found, common.Diagnostic{Severity: common.SeverityWarning, Path: fmt.Sprintf("rule[%d]", at), Message: message, Hint: yurt.Nothing()})
		}
	}
	return found
}

func (r rule) isCoveredBy(earlier rule) bool {
	same := earlier.Product == nil || (r.Product != nil && *r.Product == *earlier.Product)
	return earlier.Vendor == r.Vendor && same
}

func (r rule) matches(device usb.UsbDevice) bool {
	return !device.IsHub &&
		strings.ToLower(r.Vendor) == hexID(device.VendorId) &&
		(r.Product == nil || strings.ToLower(*r.Product) == hexID(device.ProductId))
}

func hexID(id uint16) string { return fmt.Sprintf("0x%04x", id) }

func (guest) Group(config config, facts usb.Snapshot, before *memory) (yurt.Offer[memory], error) {
	var offer yurt.Offer[memory]
	var names []string
	gathered := map[string][]usb.UsbDevice{}
	for _, device := range facts.Devices {
		at := slices.IndexFunc(config.Rules, func(rule rule) bool { return rule.matches(device) })
		if at < 0 {
			continue
		}
		if device.Life.Presence == usb.PresenceSettling {
			offer.AskAgainMilliseconds = 250
			continue
		}
		name := config.Rules[at].Group
		if _, known := gathered[name]; !known {
			names = append(names, name)
		}
		gathered[name] = append(gathered[name], device)
	}

	now := memory{IDs: []string{}}
	for _, name := range names {
		group := policy.DeviceGroup{
			Name:       policy.GroupName{Vendor: config.VendorName, Kind: "usb", Name: name},
			Attributes: attributes(gathered[name]),
		}
		for _, device := range gathered[name] {
			instance := instance(device)
			group.Instances = append(group.Instances, instance)
			now.IDs = append(now.IDs, instance.Id)
		}
		offer.Groups = append(offer.Groups, group)
	}

	if before == nil {
		before = &memory{}
	}
	for _, id := range now.IDs {
		if !slices.Contains(before.IDs, id) {
			yurt.Infof("%s is offered", id)
		}
	}
	for _, id := range before.IDs {
		if !slices.Contains(now.IDs, id) {
			yurt.Infof("%s is gone", id)
		}
	}
	offer.Memory = &now
	return offer, nil
}

func (guest) Reserve(_ config, facts usb.Snapshot, group policy.GroupName, reserved []policy.Instance) (policy.Reservation, error) {
	var reservation policy.Reservation
	variable := "YURT_" + strings.ReplaceAll(strings.ToUpper(group.Name), "-", "_")
	for _, instance := range reserved {
		for _, key := range instance.Members {
			at := slices.IndexFunc(facts.Devices, func(device usb.UsbDevice) bool { return device.Key == key })
			if at < 0 {
				return reservation, fmt.Errorf("device %s is not among the facts", key)
			}
			usbfs := slices.IndexFunc(facts.Devices[at].Nodes, func(node usb.Node) bool { return node.Subsystem == "usb_device" })
			if usbfs < 0 {
				return reservation, fmt.Errorf("device %s has no usbfs node", key)
			}
			number, name := len(reservation.Nodes), variable
			if number > 0 {
				name = fmt.Sprintf("%s_%d", variable, number+1)
			}
			reservation.Env = append(reservation.Env, policy.GrantedEnv{Name: name, Value: policy.MakeEnvValueNodePath(uint32(number))})
			reservation.Nodes = append(reservation.Nodes, policy.NodeGrant{Member: key, Node: uint32(usbfs), TaskPath: yurt.Nothing(), Read: true, Write: true})
		}
	}
	return reservation, nil
}

func (guest) Stats(_ config, counters []usb.CounterSet, offered []policy.Instance) ([]policy.InstanceStats, error) {
	var stats []policy.InstanceStats
	for _, instance := range offered {
		requests := 0.0
		for _, set := range counters {
			for _, counter := range set.Counters {
				if counter.Name == "urbs" && slices.Contains(instance.Members, set.Key) {
					requests += counter.Total
				}
			}
		}
		summary := policy.Figure{
			Path:        "requests",
			Value:       common.MakeValueNumber(requests),
			Unit:        "count",
			Description: "Requests to the device since it was plugged in",
		}
		stats = append(stats, policy.InstanceStats{Id: instance.Id, Summary: summary, Figures: []policy.Figure{summary}})
	}
	return stats, nil
}

func instance(device usb.UsbDevice) policy.Instance {
	health := policy.MakeHealthHealthy()
	if reason := trouble(device); reason != "" {
		health = policy.MakeHealthUnhealthy(reason)
	}
	return policy.Instance{Id: idOf(device), Members: []string{device.Key}, Share: yurt.Nothing(), Health: health}
}

// idOf goes by the serial number where it is the device's own and may stand in an id, else by the place.
func idOf(device usb.UsbDevice) string {
	if device.Serial.IsSome() && device.SerialQuality == usb.SerialQualityUnique && fitsInID.MatchString(device.Serial.Some().Text) {
		return "sn-" + device.Serial.Some().Text
	}
	return "port-" + device.Key
}

// trouble is the first reason why a device cannot be used, or nothing.
func trouble(device usb.UsbDevice) string {
	switch {
	case device.Life.Presence == usb.PresenceAbsent:
		return "unplugged"
	case !device.Access.Authorised:
		return "not authorised"
	case device.Access.OverCurrent:
		return "over-current at its port"
	case device.Configuration.IsNone():
		return "not configured"
	case !device.Access.Openable:
		return "no permission to open it"
	}
	for _, node := range device.Nodes {
		if node.InUse {
			return node.Path + " is in use on this machine"
		}
	}
	return ""
}

// attributes are what a job can ask for, of all devices of a group.
func attributes(devices []usb.UsbDevice) []common.Attribute {
	var vendors []string
	usb, milliamps, serials := devices[0].UsbRelease, uint16(0), true
	for _, device := range devices {
		if vendor := hexID(device.VendorId); !slices.Contains(vendors, vendor) {
			vendors = append(vendors, vendor)
		}
		usb = min(usb, device.UsbRelease)
		if device.Configuration.IsSome() {
			milliamps = max(milliamps, device.Configuration.Some().MaxMilliamps)
		}
		serials = serials && device.Serial.IsSome()
	}
	version := float64(int(usb>>8)*100+int(usb>>4&15)*10+int(usb&15)) / 100
	return []common.Attribute{
		{Name: "vendors", Value: common.MakeValueText(strings.Join(vendors, ","))},
		{Name: "usb_version", Value: common.MakeValueNumber(version)},
		{Name: "max_power", Value: common.MakeValueInteger(int64(milliamps) * 5), Unit: yurt.Text("mW")},
		{Name: "serials", Value: common.MakeValueFlag(serials)},
	}
}
