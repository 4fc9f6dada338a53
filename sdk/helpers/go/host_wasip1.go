//go:build wasip1

// The exports and imports of the contract, as the canonical ABI has them. All offsets and sizes are the contract's.

package backline

import (
	"strings"
	"unsafe"
)

// What the host reads or was given stays until the instance is gone, which is after the call.
var kept []any

// memory gives zeroed memory at an address that is a multiple of 8.
func memory(size uint32) unsafe.Pointer {
	words := make([]uint64, max(1, (size+7)/8))
	kept = append(kept, words)
	return unsafe.Pointer(unsafe.SliceData(words))
}

//go:wasmexport cabi_realloc
func realloc(old unsafe.Pointer, oldSize, align, size uint32) unsafe.Pointer {
	fresh := memory(size)
	if oldSize > 0 {
		copy(unsafe.Slice((*byte)(fresh), size), unsafe.Slice((*byte)(old), min(oldSize, size)))
	}
	return fresh
}

func at(address uint32) unsafe.Pointer                { return unsafe.Pointer(uintptr(address)) }
func get8(p unsafe.Pointer, offset uint32) uint8      { return *(*uint8)(unsafe.Add(p, offset)) }
func get16(p unsafe.Pointer, offset uint32) uint16    { return *(*uint16)(unsafe.Add(p, offset)) }
func get32(p unsafe.Pointer, offset uint32) uint32    { return *(*uint32)(unsafe.Add(p, offset)) }
func get64(p unsafe.Pointer, offset uint32) int64     { return *(*int64)(unsafe.Add(p, offset)) }
func put8(p unsafe.Pointer, offset uint32, v uint8)   { *(*uint8)(unsafe.Add(p, offset)) = v }
func put32(p unsafe.Pointer, offset uint32, v uint32) { *(*uint32)(unsafe.Add(p, offset)) = v }
func put64(p unsafe.Pointer, offset uint32, v int64)  { *(*int64)(unsafe.Add(p, offset)) = v }

func address(p unsafe.Pointer) uint32 { return uint32(uintptr(p)) }

func bytesAt(p unsafe.Pointer, length uint32) []byte {
	if length == 0 {
		return []byte{}
	}
	return unsafe.Slice((*byte)(p), length)
}

func getText(p unsafe.Pointer, offset uint32) string {
	return string(bytesAt(at(get32(p, offset)), get32(p, offset+4)))
}

// valid is a text as the host takes it. Anything but UTF-8, such as a body in another alphabet, would end the call for
// all of its accounts.
func valid(text string) string { return strings.ToValidUTF8(text, "\uFFFD") }

func putText(p unsafe.Pointer, offset uint32, text string) {
	text = valid(text)
	kept = append(kept, text)
	put32(p, offset, address(unsafe.Pointer(unsafe.StringData(text))))
	put32(p, offset+4, uint32(len(text)))
}

func putOptional(p unsafe.Pointer, offset uint32, text *string) {
	if text != nil {
		put8(p, offset, 1)
		putText(p, offset+4, *text)
	}
}

func putList(p unsafe.Pointer, offset uint32, count, size uint32) unsafe.Pointer {
	list := memory(count * size)
	put32(p, offset, address(list))
	put32(p, offset+4, count)
	return list
}

func putTexts(p unsafe.Pointer, offset uint32, texts []string) {
	list := putList(p, offset, uint32(len(texts)), 8)
	for i, text := range texts {
		putText(list, uint32(i)*8, text)
	}
}

//go:wasmimport backline:connector/log@1.0.0 write
func write(level int32, message unsafe.Pointer, length uint32)

// Log writes a line to the connector's log in the host.
func Log(level Level, message string) {
	message = valid(message)
	write(int32(level), unsafe.Pointer(unsafe.StringData(message)), uint32(len(message)))
}

//go:wasmimport backline:connector/http@1.0.0 send
func send(method int32, url unsafe.Pointer, urlLength uint32, headers unsafe.Pointer, headersCount uint32,
	hasBody int32, body unsafe.Pointer, bodyLength uint32, hasCredential int32, slot unsafe.Pointer, slotLength uint32,
	hasAccount int32, account unsafe.Pointer, accountLength uint32, sent unsafe.Pointer)

func truth(is bool) int32 {
	if is {
		return 1
	}
	return 0
}

// Send sends a request. An error is the account's failure.
func Send(request Request) (Response, error) {
	headers := memory(uint32(len(request.Headers)) * 16)
	for i, header := range request.Headers {
		putText(headers, uint32(i)*16, header.Name)
		putText(headers, uint32(i)*16+8, header.Value)
	}
	text := func(text string) (unsafe.Pointer, uint32) {
		text = valid(text)
		kept = append(kept, text)
		return unsafe.Pointer(unsafe.StringData(text)), uint32(len(text))
	}
	kept = append(kept, request.Body)
	url, urlLength := text(request.URL)
	slot, slotLength := text(request.Slot)
	account, accountLength := text(request.Account)
	hasSlot := request.Slot != ""
	got := memory(32)
	send(int32(request.Method), url, urlLength, headers, uint32(len(request.Headers)), truth(request.Body != nil),
		unsafe.Pointer(unsafe.SliceData(request.Body)), uint32(len(request.Body)), truth(hasSlot), slot, slotLength,
		truth(hasSlot && request.Account != ""), account, accountLength, got)
	if get8(got, 0) == 0 {
		response := Response{Status: get16(got, 8), Body: bytesAt(at(get32(got, 20)), get32(got, 24))}
		for i := range get32(got, 16) {
			header := unsafe.Add(at(get32(got, 12)), i*16)
			response.Headers = append(response.Headers, Header{getText(header, 0), getText(header, 8)})
		}
		return response, nil
	}
	switch get8(got, 8) {
	case 0:
		return Response{}, Because(Misconfigured, getText(got, 16))
	case 1:
		// Without a secret of the account's own, the artist has to connect; the operator's is missing in the configuration.
		if request.Account != "" {
			return Response{}, Because(Reconnect, getText(got, 16))
		}
		return Response{}, Because(Misconfigured, getText(got, 16))
	case 2:
		failure := Failure{Class: RateLimited}
		if get8(got, 16) == 1 {
			seconds := get32(got, 20)
			failure.Seconds = &seconds
		}
		return Response{}, failure
	case 3:
		failure := Failure{Class: QuotaExhausted}
		if get8(got, 16) == 1 {
			until := get64(got, 24)
			failure.Until = &until
		}
		return Response{}, failure
	case 4:
		return Response{}, Because(Unavailable, "no answer in time")
	case 5:
		return Response{}, Because(Unavailable, getText(got, 16))
	default:
		return Response{}, Because(Unexpected, "the answer is too large")
	}
}

// putFailure writes a fetch-error of 24 bytes.
func putFailure(p unsafe.Pointer, offset uint32, failure Failure) {
	put8(p, offset, uint8(failure.Class))
	switch failure.Class {
	case NotFound:
	case RateLimited:
		if failure.Seconds != nil {
			put8(p, offset+8, 1)
			put32(p, offset+12, *failure.Seconds)
		}
	case QuotaExhausted:
		if failure.Until != nil {
			put8(p, offset+8, 1)
			put64(p, offset+16, *failure.Until)
		}
	default:
		putText(p, offset+8, failure.Why)
	}
}

//go:wasmexport backline:connector/source@1.0.0#check
func check(id unsafe.Pointer, idLength uint32, platformID unsafe.Pointer, platformIDLength uint32,
	settings unsafe.Pointer, settingsLength uint32, hasState uint32, state unsafe.Pointer, stateLength uint32,
) unsafe.Pointer {
	account := Account{ID: string(bytesAt(id, idLength)), PlatformID: string(bytesAt(platformID, platformIDLength)),
		Settings: string(bytesAt(settings, settingsLength))}
	if hasState == 1 {
		known := string(bytesAt(state, stateLength))
		account.State = &known
	}
	name, err := exported.Check(account)
	result := memory(32)
	if err != nil {
		put8(result, 0, 1)
		putFailure(result, 8, failureOf(err))
	} else {
		putText(result, 8, name)
	}
	return result
}

//go:wasmexport backline:connector/source@1.0.0#fetch
func fetch(accounts unsafe.Pointer, count uint32, since, until int64, lost unsafe.Pointer, lostCount uint32,
) unsafe.Pointer {
	batch := make([]Account, count)
	for i := range batch {
		p := unsafe.Add(accounts, i*36)
		batch[i] = Account{ID: getText(p, 0), PlatformID: getText(p, 8), Settings: getText(p, 16)}
		if get8(p, 24) == 1 {
			state := getText(p, 28)
			batch[i].State = &state
		}
	}
	context := Context{Window: Window{since, until}}
	for i := range lostCount {
		context.LostMetrics = append(context.LostMetrics, getText(lost, i*8))
	}
	answers := exported.Fetch(batch, context)
	result := memory(16)
	list := putList(result, 0, uint32(len(answers)), 32)
	for i, answer := range answers {
		p := unsafe.Add(list, i*32)
		if answer.Err != nil {
			put8(p, 0, 1)
			putFailure(p, 8, failureOf(answer.Err))
			continue
		}
		putText(p, 8, string(answer.Body))
		putOptional(p, 16, answer.State)
	}
	return result
}

//go:wasmexport backline:connector/source@1.0.0#normalize
func normalize(documents unsafe.Pointer, count uint32) unsafe.Pointer {
	result := memory(8)
	list := putList(result, 0, count, 72)
	for i := range count {
		p := unsafe.Add(documents, i*32)
		document := Document{Body: []byte(getText(p, 0)), Window: Window{get64(p, 8), get64(p, 16)},
			ObservedAt: get64(p, 24)}
		snapshot, err := exported.Normalize(document)
		entry := unsafe.Add(list, i*72)
		if err != nil {
			put8(entry, 0, 1)
			putText(entry, 8, err.Error())
			continue
		}
		putSnapshot(unsafe.Add(entry, 8), snapshot)
	}
	return result
}

func putSnapshot(p unsafe.Pointer, snapshot Snapshot) {
	list := putList(p, 0, uint32(len(snapshot.Metrics)), 48)
	for i, metric := range snapshot.Metrics {
		putMetric(unsafe.Add(list, i*48), metric)
	}
	if engagement := snapshot.Engagement; engagement != nil {
		put8(p, 8, 1)
		put64(p, 16, engagement.Interactions)
		if engagement.Base != nil {
			put8(p, 24, 1)
			put64(p, 32, *engagement.Base)
		}
		put8(p, 40, uint8(engagement.Basis))
		put32(p, 44, engagement.PostsCounted)
		put32(p, 48, engagement.PostsSkipped)
	}
	putTexts(p, 56, snapshot.Notes)
}

func putMetric(p unsafe.Pointer, metric Metric) {
	putText(p, 0, metric.Name)
	switch value := metric.Value.(type) {
	case nil:
		put8(p, 8, 1)
		put8(p, 16, uint8(metric.Absence))
	case int64:
		put64(p, 24, value)
	case float64:
		put8(p, 16, 1)
		*(*float64)(unsafe.Add(p, 24)) = value
	case string:
		put8(p, 16, 2)
		putText(p, 24, value)
	case []string:
		put8(p, 16, 3)
		putTexts(p, 24, value)
	default:
		panic("the value of " + metric.Name + " is not int64, float64, string or []string")
	}
	if metric.Coverage != nil {
		put8(p, 32, 1)
		put32(p, 36, metric.Coverage.Counted)
		put32(p, 40, metric.Coverage.Skipped)
	}
}
