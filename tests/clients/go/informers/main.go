// Informers of client-go as controllers use them: typed ones that ask for protobuf, dynamic and metadata ones, over all
// namespaces, over one, and by a label. It makes objects, changes and deletes them, and prints what each informer told
// of each object, in order, as JSON: informer → object → history.
//
// Between the steps it waits until every informer is where the objects are; the file of -pause, if given, is made half way, and
// it goes on when that is gone again: the time for somebody to cut its watches.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
)

const resync = 2 * time.Second

var (
	namespaces = flag.String("namespaces", "one,two", "two namespaces to make")
	pause      = flag.String("pause", "", "file to make half way, and to wait for its end")
	count      = flag.Int("count", 100, "objects in each namespace")
)

// watcher keeps what one informer told.
type watcher struct {
	name     string
	informer cache.SharedIndexInformer
	mutex    sync.Mutex
	history  map[string][]string
	last     map[string]string
	resyncs  map[string]bool
}

func key(object metav1.Object) string { return object.GetNamespace() + "/" + object.GetName() }

// version is what the object says of itself: a label, so that metadata alone has it as well.
func version(object metav1.Object) string { return object.GetLabels()["version"] }

func mine(object any) metav1.Object {
	if tombstone, ok := object.(cache.DeletedFinalStateUnknown); ok {
		object = tombstone.Obj
	}
	accessor, ok := object.(metav1.Object)
	if !ok || version(accessor) == "" {
		return nil
	}
	return accessor
}

func (w *watcher) note(object metav1.Object, what string) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	w.history[key(object)] = append(w.history[key(object)], what+" "+version(object))
	w.last[key(object)] = version(object)
}

func watch(name string, informer cache.SharedIndexInformer) (*watcher, error) {
	w := &watcher{name: name, informer: informer, history: map[string][]string{}, last: map[string]string{}, resyncs: map[string]bool{}}
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(object any) {
			if it := mine(object); it != nil {
				w.note(it, "added")
			}
		},
		UpdateFunc: func(before, after any) {
			old, it := mine(before), mine(after)
			if old == nil || it == nil {
				return
			}
			if old.GetResourceVersion() == it.GetResourceVersion() {
				w.mutex.Lock()
				w.resyncs[key(it)] = true
				w.mutex.Unlock()
				return
			}
			w.note(it, "updated "+version(old)+" to")
		},
		DeleteFunc: func(object any) {
			if it := mine(object); it != nil {
				w.note(it, "deleted")
				w.mutex.Lock()
				delete(w.last, key(it))
				w.mutex.Unlock()
			}
		},
	})
	return w, err
}

type program struct {
	client   kubernetes.Interface
	watchers []*watcher
	spaces   []string
}

func begin(ctx context.Context, config *rest.Config, spaces []string) (*program, error) {
	typed := rest.CopyConfig(config)
	typed.ContentType = "application/vnd.kubernetes.protobuf"
	typed.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	client, err := kubernetes.NewForConfig(typed)
	if err != nil {
		return nil, err
	}
	untyped, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	metadatas, err := metadata.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	maps := corev1.SchemeGroupVersion.WithResource("configmaps")
	selected := func(options *metav1.ListOptions) { options.LabelSelector = "parity=even" }
	all := informers.NewSharedInformerFactory(client, resync)
	one := informers.NewSharedInformerFactoryWithOptions(client, resync, informers.WithNamespace(spaces[0]))
	even := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithTweakListOptions(selected))
	untypedAll := dynamicinformer.NewDynamicSharedInformerFactory(untyped, resync)
	untypedOne := dynamicinformer.NewFilteredDynamicSharedInformerFactory(untyped, 0, spaces[1], nil)
	metadataAll := metadatainformer.NewSharedInformerFactory(metadatas, resync)
	p := &program{client: client, spaces: spaces}
	for name, informer := range map[string]cache.SharedIndexInformer{
		"typed all":       all.Core().V1().ConfigMaps().Informer(),
		"typed one":       one.Core().V1().ConfigMaps().Informer(),
		"typed even":      even.Core().V1().ConfigMaps().Informer(),
		"typed namespace": all.Core().V1().Namespaces().Informer(),
		"dynamic all":     untypedAll.ForResource(maps).Informer(),
		"dynamic one":     untypedOne.ForResource(maps).Informer(),
		"metadata all":    metadataAll.ForResource(maps).Informer(),
	} {
		w, err := watch(name, informer)
		if err != nil {
			return nil, err
		}
		p.watchers = append(p.watchers, w)
	}
	for _, factory := range []interface{ Start(<-chan struct{}) }{all, one, even, untypedAll, untypedOne, metadataAll} {
		factory.Start(ctx.Done())
	}
	for _, w := range p.watchers {
		if !cache.WaitForCacheSync(ctx.Done(), w.informer.HasSynced) {
			return nil, fmt.Errorf("%s: no sync", w.name)
		}
	}
	return p, nil
}

// each calls for every object, eight at a time.
func (p *program) each(call func(space string, number int) error) error {
	var group sync.WaitGroup
	slots, failures := make(chan struct{}, 8), make(chan error, len(p.spaces)**count)
	for _, space := range p.spaces {
		for number := range *count {
			group.Add(1)
			slots <- struct{}{}
			go func() {
				defer group.Done()
				if err := call(space, number); err != nil {
					failures <- err
				}
				<-slots
			}()
		}
	}
	group.Wait()
	close(failures)
	return <-failures
}

func object(number int, version string) *corev1.ConfigMap {
	parity := [...]string{"even", "odd"}[number%2]
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{
			Name:   fmt.Sprintf("map-%d", number),
			Labels: map[string]string{"version": version, "parity": parity},
		},
		Data: map[string]string{"number": fmt.Sprint(number)},
	}
}

func (p *program) write(ctx context.Context, version string) error {
	return p.each(func(space string, number int) error {
		_, err := p.client.CoreV1().ConfigMaps(space).Update(ctx, object(number, version), metav1.UpdateOptions{})
		return err
	})
}

// settled waits until every informer's last word of every object is what the server says.
func (p *program) settled(ctx context.Context) error {
	listed, err := p.client.CoreV1().ConfigMaps("").List(ctx, metav1.ListOptions{LabelSelector: "version"})
	if err != nil {
		return err
	}
	for _, w := range p.watchers {
		wanted := map[string]string{}
		for i := range listed.Items {
			it := &listed.Items[i]
			switch {
			case w.name == "typed namespace":
			case w.name == "typed one" && it.Namespace != p.spaces[0]:
			case w.name == "dynamic one" && it.Namespace != p.spaces[1]:
			case w.name == "typed even" && it.Labels["parity"] != "even":
			default:
				wanted[key(it)] = version(it)
			}
		}
		if w.name == "typed namespace" {
			for _, space := range p.spaces {
				wanted["/"+space] = "1"
			}
		}
		if err := w.reaches(ctx, wanted); err != nil {
			return err
		}
	}
	return nil
}

func (w *watcher) reaches(ctx context.Context, wanted map[string]string) error {
	for {
		w.mutex.Lock()
		same := len(wanted) == len(w.last)
		for key, version := range wanted {
			same = same && w.last[key] == version
		}
		w.mutex.Unlock()
		if same {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %d objects told of, %d there", w.name, len(w.last), len(wanted))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// content compares the caches of informers with what a list says: whole objects, for those that keep them.
func (p *program) content(ctx context.Context) (int, error) {
	compared := 0
	listed, err := p.client.CoreV1().ConfigMaps("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return 0, err
	}
	for _, w := range p.watchers {
		for i := range listed.Items {
			it := &listed.Items[i]
			kept, exists, err := w.informer.GetStore().GetByKey(key(it))
			if err != nil {
				return 0, err
			}
			if !exists || version(it) == "" {
				continue
			}
			var data map[string]string
			switch known := kept.(type) {
			case *corev1.ConfigMap:
				data = known.Data
			case *unstructured.Unstructured:
				if data, _, err = unstructured.NestedStringMap(known.Object, "data"); err != nil {
					return 0, err
				}
			case *metav1.PartialObjectMetadata:
				data = it.Data
			}
			same := kept.(metav1.Object)
			if fmt.Sprint(data) != fmt.Sprint(it.Data) || same.GetUID() != it.UID || same.GetResourceVersion() != it.ResourceVersion {
				return 0, fmt.Errorf("%s: %s is %v in the cache and %v in a list", w.name, key(it), kept, it)
			}
			compared++
		}
	}
	return compared, nil
}

func (p *program) wait() error {
	if *pause == "" {
		return nil
	}
	if err := os.WriteFile(*pause, nil, 0o600); err != nil {
		return err
	}
	for {
		if _, err := os.Stat(*pause); os.IsNotExist(err) {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (p *program) resynced(ctx context.Context) error {
	for _, w := range p.watchers {
		if w.name == "typed even" || w.name == "dynamic one" {
			continue
		}
		for {
			w.mutex.Lock()
			done := len(w.resyncs) >= len(w.last)
			w.mutex.Unlock()
			if done {
				break
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("%s: no resync", w.name)
			case <-time.After(50 * time.Millisecond):
			}
		}
	}
	return nil
}

func run() error {
	ctx, cancel := context.WithTimeout(context.Background(), 90*time.Second)
	defer cancel()
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		return err
	}
	config.QPS, config.Burst = 1000, 1000
	spaces := strings.Split(*namespaces, ",")
	p, err := begin(ctx, config, spaces)
	if err != nil {
		return err
	}
	for _, space := range spaces {
		meta := metav1.ObjectMeta{Name: space, Labels: map[string]string{"version": "1"}}
		if _, err := p.client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: meta}, metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	create := func(space string, number int) error {
		_, err := p.client.CoreV1().ConfigMaps(space).Create(ctx, object(number, "1"), metav1.CreateOptions{})
		return err
	}
	remove := func(space string, number int) error {
		if number%3 != 0 {
			return nil
		}
		return p.client.CoreV1().ConfigMaps(space).Delete(ctx, object(number, "").Name, metav1.DeleteOptions{})
	}
	again := func(space string, number int) error {
		if number%6 != 0 {
			return nil
		}
		return create(space, number)
	}
	compared := 0
	for _, step := range []func() error{
		func() error { return p.each(create) },
		func() error { return p.write(ctx, "2") },
		func() error { return p.settled(ctx) },
		p.wait,
		func() error { return p.write(ctx, "3") },
		func() error { return p.each(remove) },
		func() error { return p.each(again) },
		func() error { return p.settled(ctx) },
		func() error { return p.resynced(ctx) },
		func() error { compared, err = p.content(ctx); return err },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	histories := map[string]any{"compared": compared}
	for _, w := range p.watchers {
		w.mutex.Lock()
		defer w.mutex.Unlock()
		histories[w.name] = w.history
	}
	return json.NewEncoder(os.Stdout).Encode(histories)
}

func main() {
	flag.Parse()
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
