// An ordinary operator, made as controller-runtime wants it: it knows nothing of workspaces.
//
// A Squad of n members gets n ConfigMaps that it owns; their number comes back as its status. One instance leads by a
// Lease, native kinds travel as protobuf, and a finalizer leaves a note of each Squad that went.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

const finalizer = "example.com/farewell"

var squads = schema.GroupVersionKind{Group: "example.com", Version: "v1", Kind: "Squad"}

func squad() *unstructured.Unstructured {
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(squads)
	return object
}

type reconciler struct {
	client.Client
	recorder events.EventRecorder
}

func (r *reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	object := squad()
	if err := r.Get(ctx, request.NamespacedName, object); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if object.GetDeletionTimestamp() != nil {
		return ctrl.Result{}, r.farewell(ctx, object)
	}
	if controllerutil.AddFinalizer(object, finalizer) {
		return ctrl.Result{}, r.Update(ctx, object)
	}
	wanted, _, err := unstructured.NestedInt64(object.Object, "spec", "members")
	if err != nil {
		return ctrl.Result{}, err
	}
	for number := range wanted {
		if err := r.member(ctx, object, number); err != nil {
			return ctrl.Result{}, err
		}
	}
	members, err := r.dismiss(ctx, object, wanted)
	if err != nil {
		return ctrl.Result{}, err
	}
	before := object.DeepCopy()
	if err := unstructured.SetNestedField(object.Object, members, "status", "members"); err != nil {
		return ctrl.Result{}, err
	}
	return ctrl.Result{}, r.Status().Patch(ctx, object, client.MergeFrom(before))
}

func (r *reconciler) member(ctx context.Context, owner *unstructured.Unstructured, number int64) error {
	name := fmt.Sprintf("%s-%d", owner.GetName(), number)
	config := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: owner.GetNamespace()}}
	result, err := controllerutil.CreateOrUpdate(ctx, r.Client, config, func() error {
		config.Labels = map[string]string{"squad": owner.GetName()}
		config.Data = map[string]string{"number": fmt.Sprint(number)}
		return controllerutil.SetControllerReference(owner, config, r.Scheme())
	})
	if result == controllerutil.OperationResultCreated {
		r.recorder.Eventf(owner, config, corev1.EventTypeNormal, "Joined", "Join", "%s joined", name)
	}
	return err
}

// dismiss deletes members that are not wanted any more, and says how many stay.
func (r *reconciler) dismiss(ctx context.Context, owner *unstructured.Unstructured, wanted int64) (int64, error) {
	var list corev1.ConfigMapList
	selector := client.MatchingLabels{"squad": owner.GetName()}
	if err := r.List(ctx, &list, client.InNamespace(owner.GetNamespace()), selector); err != nil {
		return 0, err
	}
	for i := range list.Items {
		var number int64
		if _, err := fmt.Sscan(list.Items[i].Data["number"], &number); err == nil && number >= wanted {
			if err := r.Delete(ctx, &list.Items[i]); client.IgnoreNotFound(err) != nil {
				return 0, err
			}
		}
	}
	return wanted, nil
}

func (r *reconciler) farewell(ctx context.Context, object *unstructured.Unstructured) error {
	name := types.NamespacedName{Namespace: object.GetNamespace(), Name: "farewell-" + object.GetName()}
	note := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name.Name, Namespace: name.Namespace}}
	if err := r.Create(ctx, note); err != nil && !errors.IsAlreadyExists(err) {
		return err
	}
	if controllerutil.RemoveFinalizer(object, finalizer) {
		return client.IgnoreNotFound(r.Update(ctx, object))
	}
	return nil
}

func run() error {
	ctrl.SetLogger(zap.New())
	config, err := ctrl.GetConfig()
	if err != nil {
		return err
	}
	config = rest.CopyConfig(config)
	config.ContentType = "application/vnd.kubernetes.protobuf"
	config.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	manager, err := ctrl.NewManager(config, ctrl.Options{
		LeaderElection:                true,
		LeaderElectionID:              "squads.example.com",
		LeaderElectionNamespace:       "default",
		LeaderElectionReleaseOnCancel: true,
		Metrics:                       server.Options{BindAddress: "0"},
	})
	if err != nil {
		return err
	}
	reconciler := &reconciler{Client: manager.GetClient(), recorder: manager.GetEventRecorder("squads")}
	if err := ctrl.NewControllerManagedBy(manager).For(squad()).Owns(&corev1.ConfigMap{}).Complete(reconciler); err != nil {
		return err
	}
	return manager.Start(ctrl.SetupSignalHandler())
}

func main() {
	flag.Parse()
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
